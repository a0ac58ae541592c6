package manifests

import (
	"context"
	"net/url"
)

// Report is what checking a tree found.
type Report struct {
	Roots    int       `json:"roots"`
	Objects  int       `json:"objects"`
	Problems []Problem `json:"problems"` // never null
}

// OK tells whether everything would be applied. Kinds that are left out,
// warnings of Kubernetes and the like do not count against it.
func (r Report) OK() bool { return !blocking(r.Problems) && !r.has(Duplicate) }

func (r Report) has(reason Reason) bool {
	for _, p := range r.Problems {
		if p.Reason == reason {
			return true
		}
	}
	return false
}

// Validate renders and checks a whole tree, such as a working tree (see
// DirTree), exactly as a sync would, without anything that runs.
func Validate(ctx context.Context, tree Tree, apps []App, survey Survey) (Report, error) {
	c := NewCache(apps, Options{Survey: survey})
	u, err := c.Sync(ctx, tree, "")
	if err != nil {
		return Report{}, err
	}
	r := Report{Roots: len(u.Roots), Problems: u.Problems}
	if r.Problems == nil {
		r.Problems = []Problem{}
	}
	for _, root := range u.Roots {
		r.Objects += len(root.Objects)
	}
	return r, nil
}

// SARIF is a report in the Static Analysis Results Interchange Format 2.1.0,
// which code hosts show beside the lines of a change.
type SARIF struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool    sarifTool     `json:"tool"`
	Results []sarifResult `json:"results"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name    string      `json:"name"`
	Version string      `json:"version,omitempty"`
	Rules   []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID    string    `json:"id"`
	Short sarifText `json:"shortDescription"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	Rule      string          `json:"ruleId"`
	Level     string          `json:"level"`
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations,omitempty"`
}

type sarifLocation struct {
	Physical sarifPhysical `json:"physicalLocation"`
}

type sarifPhysical struct {
	Artifact sarifArtifact `json:"artifactLocation"`
	Region   *sarifRegion  `json:"region,omitempty"`
}

type sarifArtifact struct {
	URI string `json:"uri"`
}

type sarifRegion struct {
	StartLine int `json:"startLine"`
}

// SARIF presents the problems to code hosts. version is the program's.
func (r Report) SARIF(version string) SARIF {
	run := sarifRun{
		Tool:    sarifTool{Driver: sarifDriver{Name: "belay", Version: version, Rules: []sarifRule{}}},
		Results: []sarifResult{},
	}
	seen := map[Reason]bool{}
	for _, p := range r.Problems {
		if !seen[p.Reason] {
			seen[p.Reason] = true
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{ID: string(p.Reason), Short: sarifText{p.Reason.Describe()}})
		}
		text := p.Message
		if p.Field != "" {
			text = p.Field + ": " + text
		}
		res := sarifResult{Rule: string(p.Reason), Level: "warning", Message: sarifText{text}}
		if p.Reason.Blocks() || p.Reason == Duplicate {
			res.Level = "error"
		}
		if p.File != "" {
			at := sarifPhysical{Artifact: sarifArtifact{URI: (&url.URL{Path: p.File}).EscapedPath()}}
			if p.Line > 0 {
				at.Region = &sarifRegion{StartLine: p.Line}
			}
			res.Locations = []sarifLocation{{Physical: at}}
		}
		run.Results = append(run.Results, res)
	}
	return SARIF{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}
