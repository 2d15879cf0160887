# Checks of the Helm chart, without a cluster. ./x sources this file.

# Lints the chart, renders it with several sets of values, and validates the result.
check_chart() {
  # Helm itself, the schemas of Kubernetes, and the types of KEDA and of the Prometheus operator.
  if ! { python_tool helm-python-sdk 0.2.2 && python_tool kubernetes-validate 1.37.0 &&
    python_tool cloudcoil.models.keda 2.16.1.0 && python_tool cloudcoil.models.prometheus-operator 0.80.1.0; }; then
    say "the Helm chart was NOT checked: its tools cannot be installed from here"
    return
  fi
  "$python_tools/bin/python" tools/chart.py packaging/helm >&2 || die "the Helm chart is wrong: see the lines above"
}
