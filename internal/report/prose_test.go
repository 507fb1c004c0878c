package report

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kotool/internal/render"
)

func TestProseIsWrappedAtBlanks(t *testing.T) {
	out := render.NewOut(nil)
	long := strings.Repeat("x", 100)
	prose(out, &render.Style{}, "  why", 8, "one two "+strings.Repeat("word ", 16)+long+" esc\x1b[31m end")
	want := "  why   one two word word word word word word word word word word word word word\n" +
		"        word word word\n        " + long + "\n        esc\\x1b[31m end\n"
	if d := cmp.Diff(want, string(out.B)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	out = render.NewOut(nil)
	prose(out, &render.Style{Width: 30, Palette: render.NewPalette()}, "\x1b[36mdo\x1b[0m", 4, "a text that is longer than thirty cells")
	if d := cmp.Diff("\x1b[36mdo\x1b[0m  a text that is longer than\n    thirty cells\n", string(out.B)); d != "" {
		t.Errorf("narrow (-want +got):\n%s", d)
	}
}

func TestNearestNames(t *testing.T) {
	names := []string{"exclusive_caps", "devices", "video_nr", "KT-SYM-CRC"}
	for in, want := range map[string]string{"exclusive_cap": "exclusive_caps", "device": "devices", "devcies": "devices", "vidoe_nr": "video_nr", "kt-sym-crx": "KT-SYM-CRC",
		"max_width": "", "": "", strings.Repeat("z", 10000): ""} {
		if got := strings.Join(Nearest(in, names), " "); got != want {
			t.Errorf("%.20q: got %q want %q", in, got, want)
		}
	}
}
