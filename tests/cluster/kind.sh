#!/usr/bin/env bash
# `kind.sh up|down|images`: the same cluster by kind, for machines that have Docker, kind, kubectl and helm.
set -euo pipefail
cd "$(dirname "$0")/../.."

NAME=limr
KUBERAY_VERSION=1.6.0
NODE_IMAGE=kindest/node:v1.34.3
S3_IMAGE=limr.test/versitygw:v1.8.0

for program in docker kind kubectl helm; do
  command -v "$program" >/dev/null || { echo "kind.sh: $program is not installed" >&2; exit 1; }
done

s3() {
  local folder secret
  folder=$(mktemp -d)
  cp "$(PYTHONPATH=tests .venv/bin/python -m servers.s3_server)" "$folder/program"
  printf 'FROM scratch\nCOPY program /versitygw\nENTRYPOINT ["/versitygw"]\n' > "$folder/Dockerfile"
  docker build --quiet --tag "$S3_IMAGE" "$folder"
  rm -r "$folder"
  kind load docker-image --name "$NAME" "$S3_IMAGE"
  docker exec "$NAME-control-plane" mkdir -p /data/limr  # a folder is a bucket
  kubectl create namespace s3 --dry-run=client --output yaml | kubectl apply --filename -
  secret=$(head --bytes 16 /dev/urandom | od --address-radix n --format x1 | tr -d ' \n')
  for namespace in s3 default; do
    kubectl get secret s3 --namespace "$namespace" >/dev/null 2>&1 \
      || kubectl create secret generic s3 --namespace "$namespace" \
           --from-literal AWS_ACCESS_KEY_ID=limr-tests --from-literal AWS_SECRET_ACCESS_KEY="$secret"
  done
  sed -e "s|\$image|$S3_IMAGE|; s|\$folder|/data|; s|\$access|limr-tests|; s|\$address|10.96.0.20|" \
    tests/cluster/node/manifests/s3.yaml | kubectl apply --filename -
}

case ${1:-} in
  up)
    kind get clusters | grep --quiet --line-regexp "$NAME" || kind create cluster --name "$NAME" --image "$NODE_IMAGE"
    helm upgrade --install kuberay-operator kuberay-operator --repo https://ray-project.github.io/kuberay-helm \
      --version "$KUBERAY_VERSION" --namespace kuberay --create-namespace --wait
    s3
    echo "# next: make images PROVIDER=kind"
    ;;
  down)
    kind delete cluster --name "$NAME"
    ;;
  images)
    for target in operator trainer; do
      docker build --target "$target" --tag "limr.test/$target:dev" .
      kind load docker-image --name "$NAME" "limr.test/$target:dev"
    done
    ;;
  *)
    echo "usage: kind.sh up|down|images" >&2
    exit 2
    ;;
esac
