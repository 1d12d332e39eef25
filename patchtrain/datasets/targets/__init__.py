"""What images are labelled with: masks and boxes. A class is just an `int`."""
