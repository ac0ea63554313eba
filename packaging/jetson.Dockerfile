# passd for a Jetson with JetPack 6 (L4T r36, Ubuntu 22.04).
#
# NOT BUILT AND NOT RUN BY THE PROJECT YET: there was no Jetson and no container engine
# at hand. The package in it is tested (make test-packages); the base image, the index of
# GPU wheels and the decoder inside a container are from their makers' documents.
#
#   make packages        # on Debian 12, amd64: target/debian/passd_*_arm64.deb
#   docker build -f packaging/jetson.Dockerfile -t passd .
#   docker run --runtime nvidia --network host --group-add "$(getent group render | cut -d: -f3)" \
#       -v "$PWD/passd.toml":/etc/passd/passd.toml:ro \
#       -v passd-state:/var/lib/passd -v passd-engines:/var/cache/passd passd
#
# The config must be readable for everybody: keep passwords out of it (-e CAM_PASSWORD, ${CAM_PASSWORD}).
# NVDEC and CSI cameras come into the container by the NVIDIA runtime; for CSI add
# -v /tmp/argus_socket:/tmp/argus_socket. `docker run … passd doctor` says what is there.
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0

# ONNX Runtime with CUDA and TensorRT for JetPack 6. It must fit the image's CUDA (12.6).
ARG ONNXRUNTIME_INDEX=https://pypi.jetson-ai-lab.io/jp6/cu126
ARG ONNXRUNTIME_VERSION=1.23.0

COPY target/debian/passd_*_arm64.deb /tmp/passd.deb
RUN apt-get update \
    && apt-get install -y --no-install-recommends /tmp/passd.deb gstreamer1.0-libav python3-pip \
    && python3 -m pip install --no-deps --target /opt/onnxruntime --index-url "$ONNXRUNTIME_INDEX" "onnxruntime-gpu==$ONNXRUNTIME_VERSION" \
    && ln -s "$(ls /opt/onnxruntime/onnxruntime/capi/libonnxruntime.so.* | head -1)" /opt/onnxruntime/onnxruntime/capi/libonnxruntime.so \
    && apt-get purge -y python3-pip && apt-get autoremove -y \
    && rm -rf /var/lib/apt/lists/* /tmp/passd.deb

# The wheel's library, with its providers beside it, in place of the package's one for the processor.
ENV ORT_DYLIB_PATH=/opt/onnxruntime/onnxruntime/capi/libonnxruntime.so
# What systemd says in the unit.
RUN usermod -aG video passd
ENV STATE_DIRECTORY=/var/lib/passd CACHE_DIRECTORY=/var/cache/passd
ENV GST_REGISTRY=/var/cache/passd/gstreamer-registry.bin

USER passd
WORKDIR /var/lib/passd
VOLUME ["/var/lib/passd", "/var/cache/passd"]
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=120s CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8090 && printf 'GET /live HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && grep -q ' 200 ' <&3"]
ENTRYPOINT ["/usr/bin/passd"]
CMD ["run", "--config", "/etc/passd/passd.toml"]
