# syntax=docker/dockerfile:1

# The web client.
FROM node:20-bookworm-slim AS web
WORKDIR /build
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY web/ ./
RUN npm run build

# The Python packages, in a virtual environment that moves as a whole.
FROM python:3.13-slim-bookworm AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
RUN python -m venv /opt/venv
COPY requirements.txt .
RUN /opt/venv/bin/pip install --only-binary :all: -r requirements.txt

FROM python:3.13-slim-bookworm
LABEL org.opencontainers.image.title="Parley" \
      org.opencontainers.image.description="A self-hosted, encrypted chat backend" \
      org.opencontainers.image.licenses="MIT"
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PARLEY_ENV=production \
    PARLEY_DATA_DIR=/data
RUN groupadd --gid 10001 parley \
    && useradd --uid 10001 --gid parley --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin parley \
    && install -d -o parley -g parley -m 700 /data
WORKDIR /app
COPY --from=packages /opt/venv /opt/venv
COPY manage.py ./
COPY chatproject chatproject
COPY accounts accounts
COPY messaging messaging
COPY realtime realtime
COPY --from=web /build/dist web/dist
# Test mode brings its own throw-away secrets: gathering files needs no real ones.
RUN PARLEY_ENV=test PARLEY_DATA_DIR=/tmp/build python manage.py collectstatic --noinput --verbosity 0 \
    && python -m compileall -q . \
    && rm -rf /tmp/build

USER 10001:10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]

# Before the first start and after each update: docker run --rm ... parley python manage.py migrate
CMD ["daphne", "--verbosity", "0", "-b", "0.0.0.0", "-p", "8000", "chatproject.asgi:application"]
