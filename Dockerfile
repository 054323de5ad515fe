# The server of a run, on a CPU:
#   docker build -t stm-agent .
#   docker run --rm -p 8400:8400 -e STM_AGENT_SERVE_KEY=... -v "$PWD/runs:/home/agent/runs" stm-agent
# Another run than the last one: ... stm-agent serve RUN
FROM python:3.11-slim

ENV PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /src
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
COPY stm_agent ./stm_agent
COPY programs ./programs
COPY prompts ./prompts
# The CPU build of torch is a tenth of the CUDA build; another index: --build-arg TORCH_INDEX=...
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m pip install -c constraints.txt --extra-index-url "$TORCH_INDEX" '.[serve,int8]'

# No right to write anywhere but in the mounted workspace.
RUN useradd --create-home --uid 1000 agent && mkdir -p /home/agent/programs /home/agent/runs && chown -R agent /home/agent
USER agent
WORKDIR /home/agent
# For every command inside the container; it asks for a key, as every address does that others can reach.
ENV STM_AGENT_SERVE_HOST=0.0.0.0
EXPOSE 8400
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8400/health', timeout=5)"]
ENTRYPOINT ["stm-agent"]
CMD ["serve", "last"]
