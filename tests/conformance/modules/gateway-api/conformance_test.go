// The official suite against Hauberk: its tests and manifests as they are, but for the images, which stand for programs
// of the machine here. HAUBERK_PROGRAMS is a JSON object from an image's name, without registry and tag, to a command.
package suite

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"regexp"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/gateway-api/conformance"
)

var image = regexp.MustCompile(`(?m)^([ -]*)image: \S*/([a-z-]+):\S+$`)

func TestConformance(t *testing.T) {
	programs := map[string][]string{}
	require.NoError(t, json.Unmarshal([]byte(os.Getenv("HAUBERK_PROGRAMS")), &programs))
	options := conformance.DefaultOptions(t)
	options.ManifestFS = []fs.FS{manifests{programs}}
	conformance.RunConformanceWithOptions(t, options)
}

type manifests struct{ programs map[string][]string }

func (m manifests) Open(name string) (fs.File, error) {
	content, err := conformance.Manifests.ReadFile(name)
	if err != nil {
		return nil, err
	}
	content = image.ReplaceAllFunc(content, func(line []byte) []byte {
		found := image.FindSubmatch(line)
		program, known := m.programs[string(found[2])]
		if !known {
			return line
		}
		indent := bytes.ReplaceAll(found[1], []byte("-"), []byte(" "))
		command, err := json.Marshal(program)
		if err != nil {
			panic(err)
		}
		return []byte(string(found[1]) + "image: host\n" + string(indent) + "command: " + string(command))
	})
	return fstest.MapFS{name: {Data: content}}.Open(name)
}
