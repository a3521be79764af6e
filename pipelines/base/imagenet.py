"""What ImageNet's pixels are like; images are padded and normalised with it."""

# Mean and standard deviation of the training set, RGB, on the scale 0…255.
MEAN_RGB = (123.68, 116.779, 103.939)
STD_RGB = (58.393, 57.12, 57.375)
