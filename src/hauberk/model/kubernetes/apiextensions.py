"""CustomResourceDefinition: kinds that users add."""

from typing import Annotated, Any, Literal

from msgspec import field

from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import KubernetesStruct, Time, doc, merged_by


class CustomResourceDefinitionNames(KubernetesStruct, frozen=True):
    """How an added kind is called."""

    kind: str
    plural: str
    categories: tuple[str, ...] = ()
    list_kind: str | None = None
    short_names: tuple[str, ...] = ()
    singular: str | None = None


class CustomResourceColumnDefinition(KubernetesStruct, frozen=True):
    """A column of the printed table."""

    json_path: str
    name: str
    type: str
    description: str | None = None
    format: str | None = None
    priority: int | None = None


class CustomResourceValidation(KubernetesStruct, frozen=True):
    """The schema of a version."""

    open_api_v3_schema: dict[str, Any] = field(name="openAPIV3Schema", default_factory=dict)


class SelectableField(KubernetesStruct, frozen=True):
    """A field that lists can be filtered by."""

    json_path: str


class CustomResourceSubresourceScale(KubernetesStruct, frozen=True):
    """Where a scale subresource finds its numbers."""

    spec_replicas_path: str
    status_replicas_path: str
    label_selector_path: str | None = None


class CustomResourceSubresources(KubernetesStruct, frozen=True):
    """Subresources of a version."""

    scale: CustomResourceSubresourceScale | None = None
    status: Annotated[dict[str, Any] | None, doc("Present if the status is written apart from the rest.")] = (
        None
    )


class CustomResourceDefinitionVersion(KubernetesStruct, frozen=True):
    """One version of an added kind."""

    name: str
    served: bool
    storage: bool
    additional_printer_columns: tuple[CustomResourceColumnDefinition, ...] = ()
    deprecated: bool | None = None
    deprecation_warning: str | None = None
    schema: CustomResourceValidation | None = None
    selectable_fields: tuple[SelectableField, ...] = ()
    subresources: CustomResourceSubresources | None = None


class ServiceReference(KubernetesStruct, frozen=True):
    """The service of a webhook."""

    name: str
    namespace: str
    path: str | None = None
    port: int | None = None


class WebhookClientConfig(KubernetesStruct, frozen=True):
    """How to reach a webhook."""

    ca_bundle: str | None = None
    service: ServiceReference | None = None
    url: str | None = None


class WebhookConversion(KubernetesStruct, frozen=True):
    """A webhook that converts versions."""

    conversion_review_versions: tuple[str, ...]
    client_config: WebhookClientConfig | None = None


class CustomResourceConversion(KubernetesStruct, frozen=True):
    """How versions are converted."""

    strategy: Literal["None", "Webhook"]
    webhook: WebhookConversion | None = None


class CustomResourceDefinitionSpec(KubernetesStruct, frozen=True):
    """Names, scope and versions of an added kind."""

    group: str
    names: CustomResourceDefinitionNames
    scope: Literal["Namespaced", "Cluster"]
    versions: tuple[CustomResourceDefinitionVersion, ...]
    conversion: CustomResourceConversion | None = None
    preserve_unknown_fields: bool | None = None


class CustomResourceDefinitionCondition(KubernetesStruct, frozen=True):
    """One observed fact of a definition."""

    status: Annotated[str, doc("What is observed; the API and its controllers write it.")]
    type: str
    last_transition_time: Time | None = None
    message: str | None = None
    observed_generation: int | None = None
    reason: str | None = None


class CustomResourceDefinitionStatus(KubernetesStruct, frozen=True):
    """Whether an added kind is served."""

    accepted_names: CustomResourceDefinitionNames | None = None
    conditions: Annotated[tuple[CustomResourceDefinitionCondition, ...], merged_by("type")] = ()
    observed_generation: int | None = None
    stored_versions: tuple[str, ...] = ()


class CustomResourceDefinition(KubernetesStruct, frozen=True):
    """A kind that a user adds to the API."""

    spec: Annotated[CustomResourceDefinitionSpec, doc("What is wanted.")]
    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    status: Annotated[
        CustomResourceDefinitionStatus | None, doc("What is observed; the API and its controllers write it.")
    ] = None
