package main

// h2Reasons are the cases of h2spec that fail, by section and description, and
// why they may.
func h2Reasons() map[string]string {
	const inAnswer = "x/net answers 400 on the stream, which RFC 9113 §8.1.1 allows, and passes nothing on"
	return map[string]string{
		"http2/3.5: Sends invalid connection preface":                                                                   "the listener takes HTTP/1.1 too: what is no preface is a bad request of that, and gets 400 and the connection's end",
		"http2/6.5.3: Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE":                                            "x/net takes a setting that is there twice in one frame for an attack and ends the connection",
		"http2/8.1.2.2: Sends a HEADERS frame that contains the connection-specific header field":                       inAnswer,
		"http2/8.1.2.2: Sends a HEADERS frame that contains the TE header field with any value other than \"trailers\"": inAnswer,
	}
}
