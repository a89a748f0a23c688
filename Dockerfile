# The backend as an image, for the CPU or for NVIDIA GPUs (docs/containers.md):
#   docker build --tag xsam-backend:cpu .
#   docker build --tag xsam-backend:cuda --build-arg TORCH=cuda .
FROM python:3.11.14-slim-bookworm

ARG TORCH=cpu

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

# What changes seldom comes first, so that a change of code rebuilds the last and smallest layer only. Files are bound,
# not copied: nothing of them stays behind in a layer.
# PyPI's torch for Linux brings CUDA's libraries along; the build without them is on PyTorch's own index.
RUN --mount=type=bind,source=requirements.txt,target=/tmp/requirements.txt \
    grep '^torch==' /tmp/requirements.txt > /tmp/torch.txt && \
    case "$TORCH" in \
      cpu) pip install --index-url https://download.pytorch.org/whl/cpu -r /tmp/torch.txt ;; \
      cuda) pip install -r /tmp/torch.txt ;; \
      *) echo "build argument TORCH: expected cpu or cuda, got '$TORCH'" >&2; exit 2 ;; \
    esac && \
    rm /tmp/torch.txt
RUN --mount=type=bind,source=requirements.txt,target=/tmp/requirements.txt \
    pip install -r /tmp/requirements.txt

# A fixed number, so that the owner of a mounted folder can be told. /data is what outlives the container.
RUN useradd --uid 10001 --user-group --create-home xsam && \
    install --directory --owner=xsam --group=xsam /data

COPY docker/healthcheck.py /usr/local/lib/xsam-backend/healthcheck.py

# rw: pip builds beside the sources; what it writes there is thrown away with the mount.
RUN --mount=type=bind,target=/tmp/source,rw \
    pip install "/tmp/source[postgresql]"

ENV XSAM_BACKEND_HOST=0.0.0.0 \
    XSAM_BACKEND_DATA_DIR=/data \
    HF_HOME=/data/huggingface
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 9090

# Large weights take minutes to load; until then nobody listens.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10m --retries=3 \
    CMD ["python", "/usr/local/lib/xsam-backend/healthcheck.py"]

ENTRYPOINT ["xsam-backend"]
CMD ["serve"]
