package loader

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"sync"

	"github.com/remorahq/remora/internal/loader/input"
	"github.com/remorahq/remora/manifests"
)

// Bounds of the cache: answers kept for one request, so that going back and
// forth between revisions finds its answer, and requests in all.
const (
	maxAnswers  = 4
	maxRequests = 4096
)

// key identifies a request but for the root.
type key [sha256.Size]byte

func keyOf(req manifests.LoadRequest) key {
	req.Root = ""
	data, err := json.Marshal(req)
	if err != nil {
		// A request holds plain data, which always encodes.
		panic(err)
	}
	return sha256.Sum256(data)
}

// answer is a result with what it depends on.
type answer struct {
	inputs []manifests.Input
	result manifests.LoadResult
}

type cache struct {
	mu      sync.Mutex
	answers map[key][]answer
}

// get returns an answer of which nothing has changed below root. It is the
// newest from then on: what a host goes back to again and again stays.
func (c *cache) get(k key, root string) (manifests.LoadResult, bool) {
	c.mu.Lock()
	list := c.answers[k]
	c.mu.Unlock()
	for i, a := range list {
		if same(root, a.inputs) {
			if i > 0 {
				c.put(k, a.inputs, a.result)
			}
			return a.result, true
		}
	}
	return manifests.LoadResult{}, false
}

func same(root string, inputs []manifests.Input) bool {
	for _, in := range inputs {
		if !input.Same(root, in) {
			return false
		}
	}
	return true
}

// put keeps an answer, the newest first. Lists are replaced, never changed, so
// that readers need no lock. An answer that looked at nothing, such as one about
// a folder that is not there, would stand for every root, and is not kept.
func (c *cache) put(k key, inputs []manifests.Input, result manifests.LoadResult) {
	if len(inputs) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers == nil || len(c.answers) >= maxRequests {
		c.answers = map[key][]answer{}
	}
	list := []answer{{inputs, result}}
	for _, a := range c.answers[k] {
		if len(list) < maxAnswers && !slices.Equal(a.inputs, inputs) {
			list = append(list, a)
		}
	}
	c.answers[k] = list
}
