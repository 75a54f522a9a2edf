"""The meaning of every tag. TensorBoard shows it beside the chart, and the reference lists it.

A `*` in a tag stands for a name: of a player, a penalty, a metric or a setting.
"""

from fnmatch import fnmatchcase

SCALARS = {
    "loss/discriminator": "what the discriminator minimises",
    "loss/generator": "what the generator minimises",
    "loss/adversarial": "the discriminator's loss without penalties",
    "loss/class": "acgan: cross-entropy of the classes, in nats",
    "loss/supervised": "semi_supervised: cross-entropy of the known labels, in nats",
    "loss/unsupervised": "semi_supervised: the weighted adversarial loss",
    "metric/test_error": "semi_supervised: share of the test images that the averaged discriminator misclassifies",
    "metric/validation_error": "semi_supervised: the same share of the validation images",
    "metric/test/*": "a metric on the test split, for the last networks, logged at the end",
    "metric/*/*": "the same of a further average, which the tag's end names by its half-life in images",
    "metric/*": "a metric on the validation split, for the last networks",
    "best/test/*": "a metric on the test split, for the best networks by train.select_by, logged at the end",
    "best/*": "a metric on the validation split, for the best networks by train.select_by, logged at the end",
    "wasserstein/estimate": (
        "wgan, wgan_gp, wgan_lp: E D(x) - E D(G(z)); positive if the discriminator separates real and fake images; "
        "decreases as samples improve"
    ),
    "wasserstein/held_out": (
        "the same with up to 512 validation images instead of training images; if it stays lower, the discriminator "
        "overfits the training images"
    ),
    "divergence/js_estimate": (
        "gan, minimax, their regularised and semi-supervised forms, fgan with js and gan: a lower bound of the "
        "Jensen-Shannon divergence in nats, at most log 2"
    ),
    "divergence/tv_estimate": (
        "hinge, sngan, fgan with total_variation: a lower bound of the total variation, at most 1"
    ),
    "divergence/w_div": "wgan_div: the Wasserstein divergence; the score gap of this loss is not a distance",
    "score/real": "mean raw score of real images",
    "score/fake": "mean raw score of samples",
    "score/gap": "difference between the mean scores of real images and of samples",
    "accuracy/real": "share of real images with a positive score, for losses whose decision boundary is 0",
    "accuracy/fake": "share of samples with a negative score, for losses whose decision boundary is 0",
    "accuracy/pairwise": "relativistic losses: share of pairs whose real image has the higher score",
    "penalty/*": "weighted value of a penalty, under its name in loss.penalties",
    "gradient_norm/*": "mean gradient norm at the points of a penalty, under its name in loss.penalties",
    "grad_norm/*": "norm of the gradient of a player's weights",
    "health/sample_std": "standard deviation over the samples, averaged over the pixels",
    "health/sample_std_ratio": "standard deviation over the samples, relative to that of real images",
    "health/near_duplicates": "share of samples that are nearly equal to another sample",
    "health/neighbour_ratio": "nearest-neighbour distance of smoothed samples, relative to that of real images",
    "health/separation": "mean score of training images minus that of samples, in standard deviations",
    "health/overfitting": "mean score of training images minus that of held-out images, in standard deviations",
    "health/accuracy_held_out": (
        "share of held-out images classified as real, for losses whose decision boundary is 0; compare accuracy/real"
    ),
    "health/grad_norm_ratio": "gradient norm of the generator divided by that of the discriminator",
    "health/ema_distance": "distance between averaged and live weights of the generator, relative to the live weights",
    "health/weight_growth/*": "weight norm of a player, relative to the start",
    "health/clipped_weights": "wgan: share of weights at the clipping bound",
    "lr/*": "learning rate of a player",
    "schedule/*": "a setting that has a schedule: a weight, the instance noise, the half-life, or one of an optimizer",
    "augment/probability": "probability of ada",
    "scale/*": "gradient scale of a player in fp16",
    "progress/images": "real images shown to the discriminator",
    "speed/seconds": "training time, without metrics",
    "speed/images_per_second": "real images per second",
    "speed/data_wait_share": "share of the time that was spent waiting for data",
    "memory/peak_mb": "peak memory, in megabytes",
}
IMAGES = {
    "samples/fixed": "samples of the averaged generator from fixed noise",
    "samples/fixed/*": "the same of a further average, which the tag's end names by its half-life in images",
    "samples/real": "real images",
    "samples/neighbours": "memorization: samples, each with its nearest training images",
    "toy/density": "1D and 2D data: density of generated points, and the discriminator",
}
TEXTS = {
    "config": "the resolved configuration",
    "command": "the command line",
    "advice": "advice on settings, given at the start",
    "protocol": "how each metric was computed",
    "verdict": "what is wrong with the run and what to try",
}


def meaning(tag: str) -> str:
    """Returns the meaning of a scalar, an empty string if it has none; the first row that fits counts."""
    return next((text for pattern, text in SCALARS.items() if fnmatchcase(tag, pattern)), "")
