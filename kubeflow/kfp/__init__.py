"""Kubeflow Pipelines v2: a Plan as a `PipelineSpec` and its Kubernetes platform spec (`compile.compile_kfp`)."""
