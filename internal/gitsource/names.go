package gitsource

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"
)

// checkName judges one name of a tree, which comes from a stranger: it must be
// a single path element, and not one that git reads as its own folder.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("is named %q", name)
	case strings.ContainsAny(name, "/\x00"):
		return errors.New("has a name with a separator")
	case strings.EqualFold(name, ".git"):
		return errors.New("has the name of git's own folder")
	case len(name) > 255:
		return errors.New("has a name of more than 255 bytes")
	}
	return nil
}

// checkSource judges a source's name, which becomes part of file names.
func checkSource(name string) error {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`).MatchString(name) {
		return fmt.Errorf("source name %q: use letters, digits, dots, dashes and underscores, at most 63", name)
	}
	return nil
}

// isSHA says that s is a commit id, and so a safe file name.
func isSHA(s string) bool {
	return len(s) == 40 && strings.Trim(s, "0123456789abcdef") == ""
}

func isNameError(err error) bool {
	return errors.Is(err, syscall.ENAMETOOLONG) || errors.Is(err, syscall.EILSEQ)
}
