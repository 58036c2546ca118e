// The schemas of the Prometheus Operator, which the tests of what `render --crd` writes are held against.
module schemas

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.94.0
