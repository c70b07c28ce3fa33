# The bus in an image that holds nothing else: one static binary, the
# certificates for reading from https, and an empty /storage.
#
#   docker build -t bus .
#   docker run -p 127.0.0.1:2021:2021 -v bus:/storage -e BUS_NAMESPACES=orders bus
#
# It runs as user 65532 and writes nowhere but in /storage, so that the root
# file system can be read-only.

ARG GO_IMAGE=golang:1.26
ARG BASE_IMAGE=scratch

FROM ${GO_IMAGE} AS build
WORKDIR /src
ENV CGO_ENABLED=0 GOTOOLCHAIN=local
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# What bus version says. Without it, what Go knows of the build.
ARG VERSION=
RUN go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/bus ./cmd/bus
RUN mkdir -p /out/storage

FROM ${BASE_IMAGE}
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/bus /bus
# A new volume takes owner and mode from here.
COPY --from=build --chown=65532:65532 /out/storage /storage
USER 65532:65532
ENV BUS_ADDR=0.0.0.0:2021 BUS_PATH=/storage
EXPOSE 2021
VOLUME /storage
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/bus", "health"]
ENTRYPOINT ["/bus"]
CMD ["server"]
