// kfpcompile: what Kubeflow Pipelines' API server makes of a pipeline: its own parser, input check and compiler, offline.
//
//	kfpcompile [-parameters '{"rows": 100}'] [-root s3://bucket/folder] FILE.yaml
//
// FILE holds the IR and, as a further YAML document, its platform spec. Prints the Argo Workflow; exit 1 on what the server would refuse.
// A required parameter without a value gets its type's empty one, so that a pipeline can be looked at before it is run; -strict refuses it
// as the server does.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/kubeflow/pipelines/api/v2alpha1/go/pipelinespec"
	"github.com/kubeflow/pipelines/backend/src/apiserver/model"
	"github.com/kubeflow/pipelines/backend/src/apiserver/template"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"
)

// A value of each type of parameter.
var empty = map[pipelinespec.ParameterType_ParameterTypeEnum]interface{}{
	pipelinespec.ParameterType_NUMBER_DOUBLE:  0,
	pipelinespec.ParameterType_NUMBER_INTEGER: 0,
	pipelinespec.ParameterType_STRING:         "",
	pipelinespec.ParameterType_BOOLEAN:        false,
	pipelinespec.ParameterType_LIST:           []interface{}{},
	pipelinespec.ParameterType_STRUCT:         map[string]interface{}{},
}

// withEmpty adds the empty value of each required parameter that has none.
func withEmpty(parsed *template.V2Spec, values map[string]interface{}) error {
	ir, err := yaml.YAMLToJSON(bytes.SplitN(parsed.Bytes(), []byte("\n---\n"), 2)[0])
	if err != nil {
		return err
	}
	var spec pipelinespec.PipelineSpec
	if err := protojson.Unmarshal(ir, &spec); err != nil {
		return err
	}
	for name, parameter := range spec.GetRoot().GetInputDefinitions().GetParameters() {
		value, known := empty[parameter.GetParameterType()]
		if _, given := values[name]; known && !given && !parameter.GetIsOptional() && parameter.GetDefaultValue() == nil {
			values[name] = value
		}
	}
	return nil
}

func compile(file, parameters, root string, strict bool) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	parsed, err := template.NewV2SpecTemplate(text)
	if err != nil {
		return nil, err
	}
	values := map[string]interface{}{}
	if err := json.Unmarshal([]byte(parameters), &values); err != nil {
		return nil, fmt.Errorf("-parameters: %w", err)
	}
	if !strict {
		if err := withEmpty(parsed, values); err != nil {
			return nil, err
		}
	}
	given, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	run := &model.Run{DisplayName: "run", PipelineSpec: model.PipelineSpec{
		RuntimeConfig: model.RuntimeConfig{Parameters: string(given), PipelineRoot: root}}}
	workflow, err := parsed.RunWorkflow(run, template.RunWorkflowOptions{RunId: "00000000-0000-0000-0000-000000000000"})
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML([]byte(workflow.ToStringForStore()))
}

func main() {
	parameters := flag.String("parameters", "{}", "the run's parameters, as JSON")
	root := flag.String("root", "", "the run's pipeline root")
	strict := flag.Bool("strict", false, "refuse a required parameter without a value")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: kfpcompile [-parameters JSON] [-root URL] [-strict] FILE.yaml")
		os.Exit(2)
	}
	workflow, err := compile(flag.Arg(0), *parameters, *root, *strict)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Stdout.Write(workflow)
}
