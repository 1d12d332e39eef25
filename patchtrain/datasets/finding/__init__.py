"""What data sets share to list their images from folders and tables; opens no image."""
