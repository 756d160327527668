package docker

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"github.com/distribution/reference"
	"github.com/docker/cli/cli/config"
	"github.com/docker/docker/api/types/registry"
)

// hub is Docker Hub's name in references, and hubKey the one in config.json.
const (
	hub    = "docker.io"
	hubKey = "https://index.docker.io/v1/"
)

// credentials are those of Docker's config.json for the registry of ref,
// encoded for the engine. The file, and the helper that it names, are asked
// anew each time: a login or a rotated token holds at once.
func (e *Engine) credentials(ref reference.Named) (string, error) {
	dir, err := e.configDir()
	if err != nil {
		return "", err
	}
	file, err := config.Load(dir)
	if err != nil {
		return "", fmt.Errorf("read registry credentials: %w", err)
	}
	key := reference.Domain(ref)
	if key == hub {
		key = hubKey
	}
	auth, err := file.GetAuthConfig(key)
	if err != nil {
		return "", fmt.Errorf("read registry credentials for %s from %s: %w", reference.Domain(ref), filepath.Join(dir, config.ConfigFileName), err)
	}
	return registry.EncodeAuthConfig(registry.AuthConfig{
		Username: auth.Username, Password: auth.Password, Auth: auth.Auth, ServerAddress: cmp.Or(auth.ServerAddress, key),
		IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
	})
}

func (e *Engine) configDir() (string, error) {
	if dir := cmp.Or(e.opts.ConfigDir, os.Getenv(config.EnvOverrideConfigDir)); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		// A service without a home has no credentials, as for Docker itself.
		return os.DevNull, nil
	}
	return filepath.Join(home, ".docker"), nil
}
