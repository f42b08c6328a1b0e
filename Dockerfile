# One image for every process of hub: `docker run hub registry`, `docker run hub model examples.digits:Digits`, ...
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /build
COPY requirements/run.lock requirements/
RUN python -m venv /hub && /hub/bin/pip install --no-cache-dir --require-hashes --requirement requirements/run.lock
COPY pyproject.toml README.md LICENSE ./
COPY stubs stubs
COPY src src
RUN /hub/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:${PYTHON}-slim
COPY --from=build /hub /hub
WORKDIR /app
COPY examples examples
ENV PATH=/hub/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["hub"]
CMD ["--help"]
