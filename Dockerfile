# gan_runner for an NVIDIA GPU; docs/container.md has the arguments for a machine without one.
ARG BASE=nvidia/cuda:13.0.1-base-ubuntu24.04
FROM ${BASE}

RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# PyTorch in a layer of its own, which a change of the code does not build again
ARG TORCH_INDEX=
COPY constraints.txt /src/
RUN pip install ${TORCH_INDEX:+--index-url ${TORCH_INDEX}} --constraint /src/constraints.txt torch torchvision

COPY pyproject.toml README.md LICENSE /src/
COPY conf /src/conf
COPY gan_runner /src/gan_runner
RUN pip install --constraint /src/constraints.txt /src

RUN useradd --create-home --uid 10001 gan \
    && install --directory --owner=gan --group=gan /gan /gan/outputs /gan/data /gan/cache
USER gan
WORKDIR /gan
ENV GAN_RUNNER_DATA=/gan/data GAN_RUNNER_CACHE=/gan/cache MPLCONFIGDIR=/gan/cache/matplotlib
VOLUME ["/gan/outputs", "/gan/data", "/gan/cache"]
ENTRYPOINT ["gan-runner"]
