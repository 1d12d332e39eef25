"""Parts of a training step: images to the device, exact microbatches, optimizer, schedule."""
