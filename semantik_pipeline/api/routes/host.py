"""The server's host: diagnosis and models."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from semantik_pipeline import doctor
from semantik_pipeline.api.dependencies import Operator, TheRuntime
from semantik_pipeline.api.models.host import DoctorFinding, DoctorReport, ModelInfo, ModelList, ModelLocation
from semantik_pipeline.api.models.plain import FilterText
from semantik_pipeline.api.problems import documented
from semantik_pipeline.api.routing import guarded
from semantik_pipeline.errors import NotFound, PluginLoadError
from semantik_pipeline.models import inventory

router = guarded("host", "/host")


@router.get(
    "/doctor",
    operation_id="host_doctor",
    summary="Check the servers, schema, queues, index, plugins, models, disks and clock that this server uses. Nothing"
    " is changed.",
)
def examine(runtime: TheRuntime, caller: Operator) -> DoctorReport:
    findings = doctor.examine(runtime)
    shown = [DoctorFinding.model_validate(finding.to_dict()) for finding in findings]
    return DoctorReport.model_validate({"status": doctor.verdict(findings), "findings": shown})


@router.get(
    "/models", operation_id="host_models", summary="List the models that are in use, and those in the models folder."
)
def models(runtime: TheRuntime, caller: Operator) -> ModelList:
    found = [ModelInfo.model_validate(one.to_dict()) for one in inventory.inventory(runtime)]
    return ModelList(models=found, models_dir=str(runtime.settings.models_dir))


@router.get(
    "/models/where",
    operation_id="host_models_where",
    summary="Show which files are used for a model, and why.",
    responses=documented(404),
)
def where(
    runtime: TheRuntime, caller: Operator, name: Annotated[FilterText, Query(examples=["all-MiniLM-L6-v2"])]
) -> ModelLocation:
    try:
        files = inventory.where(runtime.host, name)
    except PluginLoadError as error:
        raise NotFound(error.message, error.hint) from None
    reason = inventory.why(files, runtime.settings.models_dir)
    return ModelLocation(
        name=files.name, path=str(files.path), origin=files.origin, revision=files.revision, reason=reason
    )
