"""The CustomResourceDefinition of LIMRExperiment, made from `limr.spec` and the status in `limr.plan`."""

from limr.crd.definition import definition

__all__ = ["definition"]
