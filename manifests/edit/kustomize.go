package edit

import (
	"regexp"
	"strconv"
	"strings"
)

// image is the name of an image taken apart.
type image struct{ name, tag, digest string }

func imageOf(s string) image {
	var i image
	i.name, i.digest, _ = strings.Cut(s, "@")
	if at := strings.LastIndexByte(i.name, ':'); at > strings.LastIndexByte(i.name, '/') {
		i.name, i.tag = i.name[:at], i.name[at+1:]
	}
	return i
}

// containers calls f for each pair of containers of one name.
func eachContainer(have, want *value, f func(have, want *value)) {
	for _, key := range []string{"initContainers", "containers"} {
		h, w := have.down("spec", "template", "spec", key), want.down("spec", "template", "spec", key)
		if h == nil || w == nil {
			continue
		}
		for _, item := range h.items {
			if name := item.get("name"); name != nil {
				if other := element(w, "name", name.text); other != nil && item.get("image") != nil && other.get("image") != nil {
					f(item.get("image"), other.get("image"))
				}
			}
		}
	}
}

func (v *value) down(keys ...string) *value {
	for _, k := range keys {
		if v = v.get(k); v == nil {
			return nil
		}
	}
	return v
}

func (v *value) textOf(key string) string {
	if item := v.get(key); item != nil && !item.isNull() {
		return item.text
	}
	return ""
}

// setImages changes the entries of images: that make the images of the object.
func (d *draft) setImages(s site, have, want *value) error {
	k, err := d.at(s)
	if err != nil {
		return err
	}
	list := k.get("images")
	for i, entry := range list.items {
		made := entry.textOf("newName")
		if made == "" {
			made = entry.textOf("name")
		}
		var to *image
		var changed []*value
		clash := false
		eachContainer(have, want, func(h, w *value) {
			is, wanted := imageOf(h.text), imageOf(w.text)
			if is.name != made {
				return
			}
			clash = clash || to != nil && *to != wanted
			to = &wanted
			changed = append(changed, h, w)
		})
		if to == nil || clash || !says(entry, changed) {
			continue
		}
		at := Path{Key("images"), At(i)}
		for _, e := range imageEdits(entry, *to) {
			e.Path = at.With(e.Path...)
			if err := d.edit(s.file, e); err != nil {
				return err
			}
		}
		for j := 0; j < len(changed); j += 2 {
			*changed[j] = *changed[j+1].clone()
		}
	}
	return nil
}

// says tells whether an entry changes the images in question, and whether the
// entry is what gives them their tag.
func says(entry *value, changed []*value) bool {
	for j := 0; j < len(changed); j += 2 {
		is, wanted := imageOf(changed[j].text), imageOf(changed[j+1].text)
		if is == wanted {
			continue
		}
		tag, digest := entry.textOf("newTag"), entry.textOf("digest")
		if tag != "" && tag == is.tag || digest != "" && digest == is.digest || is.name != wanted.name && entry.textOf("newName") != "" {
			return true
		}
	}
	return false
}

func imageEdits(entry *value, to image) []Edit {
	var out []Edit
	set := func(key, is, want string) {
		switch {
		case is == want:
		case want == "":
			out = append(out, Edit{Path: Keys(key), Remove: true})
		default:
			out = append(out, Edit{Path: Keys(key), Value: want})
		}
	}
	name := to.name
	if name == entry.textOf("name") && entry.textOf("newName") == "" {
		name = ""
	}
	set("newName", entry.textOf("newName"), name)
	set("newTag", entry.textOf("newTag"), to.tag)
	set("digest", entry.textOf("digest"), to.digest)
	return out
}

// setReplicas changes the count of a kustomization for the object.
func (d *draft) setReplicas(s site, have, want *value) error {
	h, w := have.down("spec", "replicas"), want.down("spec", "replicas")
	if h == nil || w == nil || h.same(w) {
		return nil
	}
	k, err := d.at(s)
	if err != nil {
		return err
	}
	for i, entry := range k.get("replicas").items {
		if !strings.Contains(s.name, entry.textOf("name")) || entry.textOf("count") != h.text {
			continue
		}
		if err := d.edit(s.file, Edit{Path: Path{Key("replicas"), At(i), Key("count")}, Value: w}); err != nil {
			return err
		}
		*h = *w
		return nil
	}
	return nil
}

var pointerPart = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)

// setOperations changes the values of JSON 6902 operations that set what is to
// change.
func (d *draft) setOperations(s site, have, want *value) error {
	ops, err := d.at(s)
	if err != nil {
		return err
	}
	next := ops.clone()
	for _, op := range next.items {
		kind := op.textOf("op")
		if op.kind != mapping || kind != "add" && kind != "replace" || op.get("value") == nil {
			continue
		}
		h, w := follow(have, want, op.textOf("path"))
		if h == nil || w == nil || h.same(w) || !op.get("value").same(h) {
			continue
		}
		op.put("value", w)
		*h = *w.clone()
	}
	if next.same(ops) {
		return nil
	}
	return d.set(s, next)
}

// follow walks a JSON pointer down two values at once; elements of lists are
// paired by their merge key.
func follow(have, want *value, pointer string) (h, w *value) {
	h, w = have, want
	parts := strings.Split(pointer, "/")
	for _, part := range parts[1:] {
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		switch {
		case h == nil || w == nil:
			return nil, nil
		case h.kind == mapping:
			h, w = h.get(part), w.get(part)
		case h.kind == list && pointerPart.MatchString(part):
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(h.items) {
				return nil, nil
			}
			key := keyed(h, w)
			switch {
			case key != "":
				w = element(w, key, h.items[i].textOf(key))
			case i < len(w.items):
				w = w.items[i]
			default:
				return nil, nil
			}
			h = h.items[i]
		default:
			return nil, nil
		}
	}
	return h, w
}
