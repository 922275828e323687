# One image for every process; compose.yaml says which role each container runs.
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir uv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY freshlens ./freshlens
COPY index_nodes ./index_nodes
COPY processors ./processors
COPY query_api ./query_api
COPY schemas ./schemas
COPY streams ./streams
COPY topics ./topics
RUN /venv/bin/uv pip install --python /venv/bin/python --no-cache -c constraints.txt '.[server]'

FROM python:3.11-slim
COPY --from=build /venv /venv
RUN useradd --create-home --uid 10001 freshlens && mkdir /data && chown freshlens /data
USER freshlens
ENV PATH=/venv/bin:$PATH FRESHLENS_DATA=/data OMP_NUM_THREADS=1 XDG_CACHE_HOME=/data/cache
VOLUME /data
ENTRYPOINT ["freshlens"]
CMD ["--help"]
