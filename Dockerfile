# One image for every process of hub: `docker run hub registry`, `docker run hub model examples.digits:Digits`, ...
# `docker build --target base --tag hub:base .` makes the one that images of other models begin with (docs/deployment.md).
# Everything that is installed is pinned by its hash (requirements/*.lock); the base image by its digest (scripts/pin-images.sh).
ARG PYTHON=3.13-slim-trixie@sha256:ffb752e139c0a19692a43af8d8523b274222dd68eebad5d583b45c2201c6e30a

FROM python:${PYTHON} AS build
WORKDIR /build
# The pip of the base image fills the environment, which needs none of its own.
RUN python -m venv --without-pip /hub
COPY requirements/base.lock requirements/
RUN pip --python /hub/bin/python install --no-cache-dir --require-hashes --requirement requirements/base.lock
COPY pyproject.toml README.md LICENSE ./
COPY stubs stubs
COPY src src
RUN pip --python /hub/bin/python install --no-cache-dir --no-deps --no-build-isolation .

FROM build AS build-examples
COPY requirements/run.lock requirements/
RUN pip --python /hub/bin/python install --no-cache-dir --require-hashes --requirement requirements/run.lock
COPY examples /app/examples
# The running image may not write, so what pip did for the packages is done for the examples here.
RUN /hub/bin/python -m compileall -q /app

FROM python:${PYTHON} AS base
LABEL org.opencontainers.image.title="hub" \
      org.opencontainers.image.description="Serves several Python models behind one door: registry, gateway, instances" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /hub /hub
WORKDIR /app
# Nothing is written but to /tmp: the root file system may be read-only. Some libraries want a home.
ENV PATH=/hub/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    PIP_PYTHON=/hub/bin/python
# A number, so that an orchestrator can see that it is not root.
USER 10001:10001
EXPOSE 8000 8001
STOPSIGNAL SIGTERM
# Health depends on the process: compose.yaml and deploy/kubernetes say where it is asked.
HEALTHCHECK NONE
ENTRYPOINT ["hub"]
CMD ["--help"]

FROM base AS examples
COPY --from=build-examples /hub /hub
COPY --from=build-examples /app /app
