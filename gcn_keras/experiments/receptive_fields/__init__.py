"""Which pixels drive a score: the effective and the valid receptive field (Figure 3 of the paper).

The score is the logit of one class at a point of the image, by default of the class that the
model predicts there. Two maps say which pixels drive it:

- the effective receptive field (Luo et al. 2016): |d score / d pixel|, summed over the channels;
- the valid receptive field (Zhou et al. 2014, and the paper): how much the score moves when a small
  patch of noise covers the pixel.

Their size is the side of the smallest square around the point that holds 50 or 95 % of the map.
Both average over images: the maps are laid over each other by their points. Nothing is cut off
below a threshold: where a model is blind the score does not move at all, and what it moves a little
over a wide area belongs to the field.
"""
