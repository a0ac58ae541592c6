package source

import "testing"

// A tree that comes back, as after a revert, is whole in the mirror, also what it has in common with the commits between.
func TestFetchOfATreeThatComesBack(t *testing.T) {
	t.Parallel()
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			r := newRepo(t)
			one := map[string]string{"app/f": "1", "app/same": "same", "top": "top"}
			r.commit("main", "one", one)
			r.commit("main", "two", map[string]string{"app/f": "2"})
			r.commit("side", "side", map[string]string{"app/f": "1"}, Hash(r.git("", "rev-parse", "main")))
			h := r.commit("main", "merge", map[string]string{"app/f": "1"}, Hash(r.git("", "rev-parse", "main")), Hash(r.git("", "rev-parse", "side")))
			m := openMirror(t, tr.config(t, r))
			defer m.Close()
			poll(t, m)
			files, err := readAll(snapshot(t, m), h)
			if err != nil || len(files) != 3 || files["app/same"] != "same" || files["top"] != "top" {
				t.Errorf("files %v, %v", files, err)
			}
		})
	}
}
