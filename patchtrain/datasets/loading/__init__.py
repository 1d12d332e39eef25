"""From a listing to checked images in splits for the trainer; the same for every data set."""
