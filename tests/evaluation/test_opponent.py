"""Access of metrics to both players."""

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gan_runner.evaluation.opponent import Opponent
from gan_runner.evaluation.sampler import Sampler
from gan_runner.metric.pools import CHUNK
from gan_runner.model.latent import Latent
from gan_runner.spec import ImageSpec
from gan_runner.training.showcase import sampler_of
from tests.conftest import SMALL, make_run


def test_a_discriminator_scores_without_dropout_and_keeps_its_mode():
    run = make_run(*SMALL, "model.discriminator.dropout=0.5", "model.discriminator.norm=none")
    network, images = run.discriminator.network, run.real.images[:40]
    opponent = Opponent(sampler_of(run, run.generator.network), network, None, run.dataset, 0, 16)
    scores = opponent.scores(images, None)
    assert network.training
    with torch.no_grad():
        expected = network.eval()(run.real.decode(images), None)
    assert_close(scores, expected)
    assert scores.std() > 0


def test_scores_use_the_statistics_of_their_batch_and_change_no_buffer():
    run = make_run(*SMALL, "model.discriminator.norm=batch")
    network, images = run.discriminator.network, run.real.images[:16]
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    opponent = Opponent(sampler_of(run, run.generator.network), network, None, run.dataset, 0, 16)
    scores = opponent.scores(images, None)
    assert before
    for name, buffer in network.named_buffers():
        assert_close(buffer, before[name], rtol=0, atol=0)
    with torch.no_grad():
        assert_close(scores, network(run.real.decode(images), None))  # in training mode


class Labels(nn.Module):
    """A generator whose images equal their labels."""

    conditional = True

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return labels.view(-1, 1, 1, 1).float()


def test_classes_come_in_turn_over_chunks_that_they_do_not_divide():
    spec = ImageSpec(1, 1, 1, num_classes=7)
    assert CHUNK % 7
    sampler = Sampler(Labels(), Latent(2), spec, 0, 8, torch.device("cpu"))
    drawn = torch.cat([sampler.chunk(0, number)[0].flatten() for number in range(2)])
    assert drawn.tolist() == [index % 7 for index in range(2 * CHUNK)]
