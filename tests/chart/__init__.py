"""The chart's tools: Helm, helm-docs, kubeconform, and what is made with them."""
