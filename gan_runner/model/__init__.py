"""Generators and discriminators. Settings that several networks share:

width: channels of the layer with the fewest; of resnet and r3gan those of every layer.
widths: units of each hidden layer.
activation: relu, leaky_relu, tanh, elu, gelu, silu or softplus; of fully connected layers also maxout.
norm: normalisation of the hidden layers: none, batch, layer or weight; of convolutions also instance.
dropout: probability that a hidden unit is set to 0 in training.
attention: side of the feature maps after which self-attention is inserted; None: no attention.
minibatch: statistics of the batch as further features: none, stddev or discrimination.
blocks: residual blocks at each resolution.
groups: groups of the 3x3 convolutions.
init: initial weights of linear layers: he (and Glorot for the last layer), orthogonal or normal.
init_scale: gain of init=orthogonal (None: sqrt 2), standard deviation of init=normal (None: 0.02).
"""
