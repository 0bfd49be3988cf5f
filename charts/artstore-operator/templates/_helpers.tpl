{{/* The release's name, with the chart's when it is not part of it. */}}
{{- define "artstore-operator.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "artstore-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "artstore-operator.labels" -}}
{{ include "artstore-operator.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: artstore
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "artstore-operator.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "artstore-operator.fullname" .) -}}
{{- end -}}

{{- define "artstore-operator.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- define "artstore-operator.elementImage" -}}
{{- .Values.element.image | default (printf "localhost/artstore-element:%s" .Chart.AppVersion) -}}
{{- end -}}

{{/* What passes the restricted pod security standard, for a container. */}}
{{- define "artstore-operator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The same for a pod. */}}
{{- define "artstore-operator.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* What the operator may do in each namespace it watches. */}}
{{- define "artstore-operator.rules" -}}
# Its own resources, read by watching; the finalizer is a patch, spec is never written.
- apiGroups: [artstore.dev]
  resources: [storageelements]
  verbs: [list, watch, patch]
- apiGroups: [artstore.dev]
  resources: [storagefleets]
  verbs: [list, watch]
- apiGroups: [artstore.dev]
  resources: [storageelements/status, storagefleets/status]
  verbs: [patch]
# Owner references that hold deletion back.
- apiGroups: [artstore.dev]
  resources: [storageelements/finalizers]
  verbs: [update]
# What an element is made of; server-side apply takes create and patch. What has an owner goes with it.
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services]
  verbs: [list, watch, create, patch]
- apiGroups: [""]
  resources: [persistentvolumeclaims, secrets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}
