package main

// h2Reasons are the cases of h2spec that fail, by section and description, and
// why they may.
func h2Reasons() map[string]string {
	return map[string]string{}
}
