{{- /* files/rules.yaml with thresholds, and each alert with the place of its runbook. */ -}}
{{- define "limr.alerts" -}}
{{- $text := .Files.Get "files/rules.yaml" }}
{{- range $name, $value := .Values.metrics.prometheusRule.thresholds }}
{{- $text = $text | replace (printf "<%s>" $name) (toString $value) }}
{{- end }}
{{- $rules := fromYaml $text }}
{{- range $group := $rules.groups }}
{{- range $alert := $group.rules }}
{{- $section := lower $alert.alert }}
{{- with $.Values.metrics.prometheusRule.runbooks }}
{{- $_ := set $alert.annotations "runbook_url" (printf "%s#%s" . $section) }}
{{- else }}
{{- $_ := set $alert.annotations "runbook" (printf "docs/runbooks.md#%s of limr %s" $section $.Chart.AppVersion) }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml $rules }}
{{- end -}}
