"""How an image is cut into patches, and how their features lie: geometry, no model."""
