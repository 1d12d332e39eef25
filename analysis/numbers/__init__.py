"""What several commands and sections work out of a run: masks, seeds, choices, differences."""
