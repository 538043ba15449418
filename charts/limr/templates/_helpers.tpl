{{- /* Name of everything that the release makes: the release's, with the chart's where that is not in it. */ -}}
{{- define "limr.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "limr.instanceLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "limr.operatorLabels" -}}
{{ include "limr.instanceLabels" . }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "limr.commonLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "limr.labels" -}}
{{ include "limr.operatorLabels" . }}
{{ include "limr.commonLabels" . }}
{{- end -}}

{{- define "limr.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "limr.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | required "serviceAccount.name: is missing; name the ServiceAccount that the operator is to use, or set serviceAccount.create to true" -}}
{{- end -}}
{{- end -}}

{{- /* Takes a list: an image's values, and the root. */ -}}
{{- define "limr.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default (index . 1).Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- /* The namespaces to work for, as a JSON list; empty: all. */ -}}
{{- define "limr.namespaces" -}}
{{- if .Values.namespaces -}}
{{- append .Values.namespaces .Release.Namespace | uniq | sortAlpha | toJson -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{- /* What the restricted Pod Security standard asks of a container. */ -}}
{{- define "limr.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "limr.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}
