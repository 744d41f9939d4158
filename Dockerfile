# Two stages: mysqlclient is compiled with MariaDB's headers, and runs with its library alone.
FROM python:3.11-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev pkg-config libmariadb-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements.txt constraints.txt ./
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt -r requirements.txt

FROM python:3.11-slim
# libgomp1: implicit's wheel links to it. tini is not needed: compose's `init: true` reaps.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libmariadb3 libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin songs-ai \
 && install -d -o songs-ai -g songs-ai /app /var/lib/songs-ai
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OPENBLAS_NUM_THREADS=1 \
    DATA_DIR=/var/lib/songs-ai \
    HOST=0.0.0.0
WORKDIR /app
COPY --from=build /venv /venv
COPY . .
# The key is for this one command only; nothing of it stays in the image.
RUN SECRET_KEY=collectstatic DATA_DIR=/tmp/build python manage.py collectstatic --noinput -v 0 \
 && rm -rf /tmp/build
USER songs-ai
VOLUME /var/lib/songs-ai
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["python", "-m", "granian", "--interface", "rsgi", "songs_ai.rsgi:application", "--host", "0.0.0.0", "--port", "8000", "--workers", "2", "--no-ws", "--respawn-failed-workers", "--workers-kill-timeout", "20"]
