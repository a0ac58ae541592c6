package simulated

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	with := func(delay, stop time.Duration, images map[string]Behaviour) Options {
		if images == nil {
			images = map[string]Behaviour{}
		}
		return Options{Delay: delay, Stop: stop, Images: images}
	}
	cases := []struct {
		name   string
		values []string
		want   Options
		err    string
	}{
		{name: "nothing", want: with(DefaultDelay, 0, nil)},
		{name: "durations", values: []string{"delay=200ms", "stop=3s"}, want: with(200*time.Millisecond, 3*time.Second, nil)},
		{name: "images", values: []string{"mediawiki:2=missing", "r.example:5000/a/b@sha256:00=crash", "web=unready"},
			want: with(DefaultDelay, 0, map[string]Behaviour{"mediawiki:2": Missing, "r.example:5000/a/b@sha256:00": Crash, "web": Unready})},
		{name: "the later one wins", values: []string{"web=crash", "delay=1s", "web=missing", "delay=0s"},
			want: with(0, 0, map[string]Behaviour{"web": Missing})},
		{name: "no behaviour", values: []string{"web:1"},
			err: `simulate "web:1": want IMAGE=missing, IMAGE=crash, IMAGE=unready, delay=DURATION or stop=DURATION`},
		{name: "unknown behaviour", values: []string{"web=slow"},
			err: `simulate "web=slow": unknown behaviour "slow", want missing, crash or unready`},
		{name: "no image", values: []string{"=crash"}, err: `simulate "=crash": an image, delay or stop is missing before =`},
		{name: "no image name", values: []string{"a b=crash"}, err: `simulate "a b=crash": "a b" is not the name of an image`},
		{name: "no duration", values: []string{"delay=200"}, err: `simulate "delay=200": "200" is not a duration such as 200ms or 3s`},
		{name: "negative", values: []string{"stop=-1s"}, err: `simulate "stop=-1s": -1s is less than nothing`},
		{name: "all problems at once", values: []string{"web", "x=crash", "delay=soon"},
			err: "simulate \"web\": want IMAGE=missing, IMAGE=crash, IMAGE=unready, delay=DURATION or stop=DURATION\n" +
				"simulate \"delay=soon\": \"soon\" is not a duration such as 200ms or 3s"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := Parse(c.values)
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Fatalf("error:\n%v\nwant:\n%s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}
