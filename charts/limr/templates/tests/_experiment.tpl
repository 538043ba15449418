{{- /* The experiment of `helm test`, as JSON. Without a storage nothing of it can run, so that it is suspended. */ -}}
{{- define "limr.testExperiment" -}}
{{- $storage := dict -}}
{{- range $key, $value := .Values.tests.storage -}}
{{- if $value }}{{ $_ := set $storage $key $value }}{{ end -}}
{{- end -}}
{{- $spec := deepCopy .Values.tests.spec -}}
{{- if $storage.uri -}}
{{- $spec = set $spec "storage" $storage -}}
{{- else -}}
{{- $suspended := dict "suspend" true -}}
{{- $spec = set $spec "storage" (dict "uri" "s3://none/none") -}}
{{- $spec = set $spec "schedule" (merge $suspended ($spec.schedule | default dict)) -}}
{{- end -}}
{{- $metadata := dict "name" "helm-test" "namespace" .Release.Namespace -}}
{{- dict "apiVersion" "limr.dev/v1alpha1" "kind" "LIMRExperiment" "metadata" $metadata "spec" $spec | toPrettyJson -}}
{{- end -}}

{{- define "limr.testLabels" -}}
{{ include "limr.instanceLabels" . }}
app.kubernetes.io/component: test
{{ include "limr.commonLabels" . }}
{{- end -}}

{{- /* Takes the weight: Helm makes what has less of it first. */ -}}
{{- define "limr.testAnnotations" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
