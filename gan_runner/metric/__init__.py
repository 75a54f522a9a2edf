"""Metrics. Settings that several of them share:

n_real: real images of the evaluated split; None: all of them.
n_fake: samples.
n_train: training images.
k: number of nearest neighbours.
features: inception, vgg16, classifier (a small network that is trained on the dataset) or pixels; auto is the
classifier if the dataset has labels, else pixels.
"""
