# Serve a trained run in a container: docs/serve.md, "In a container".
FROM python:3.11-slim-bookworm

# Nothing of the build stays: no cache of pip, no compiled files of another user.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

WORKDIR /opt/medcls
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY conf conf
COPY experiments experiments
COPY medcls medcls
COPY hydra_plugins hydra_plugins
RUN pip install --constraint constraints.txt ".[demo,dicom]"

# A user without rights, and without a home: caches and uploads go to /tmp.
RUN useradd --no-create-home --uid 10001 --shell /usr/sbin/nologin medcls
ENV MEDCLS_CACHE=/tmp/cache MEDCLS_STATE=/tmp/state MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /tmp
USER 10001

EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health')"]
ENTRYPOINT ["python", "-m", "medcls.serve", "run=/model", "host=0.0.0.0", "port=7860"]
