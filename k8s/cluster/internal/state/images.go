package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Images maps the name of an image to the local binary that a container of it runs.
type Images map[string]string

// ParseImages reads NAME=PATH arguments and checks that every binary is there.
func ParseImages(arguments []string) (Images, error) {
	images := Images{}
	for _, argument := range arguments {
		// Neither image names nor digests hold '='.
		name, path, found := strings.Cut(argument, "=")
		if !found || name == "" || path == "" {
			return nil, fmt.Errorf("%q: want IMAGE=PATH, as in example.org/echo:v1=/usr/local/bin/echo", argument)
		}
		path, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("the binary of image %s: %w", name, err)
		}
		if err := CheckBinary(path); err != nil {
			return nil, fmt.Errorf("the binary of image %s: %w", name, err)
		}
		images[name] = path
	}
	return images, nil
}

// CheckBinary tells why the file at path cannot be run, if it cannot.
func CheckBinary(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not an executable file", path)
	}
	return nil
}

// Binary finds the binary of an image: by its whole name, without its digest, or without digest and tag.
func (i Images) Binary(image string) (string, bool) {
	candidates := []string{image}
	plain, _, _ := strings.Cut(image, "@")
	candidates = append(candidates, plain)
	if colon := strings.LastIndexByte(plain, ':'); colon > strings.LastIndexByte(plain, '/') {
		candidates = append(candidates, plain[:colon])
	}
	for _, candidate := range candidates {
		if path, found := i[candidate]; found {
			return path, true
		}
	}
	return "", false
}

func (f Folder) imagesPath() string { return filepath.Join(f.Path, "images.json") }

// AddImages adds to the mapping, which the node agent reads before each start of a container.
func (f Folder) AddImages(more Images) error {
	images, err := f.ReadImages()
	if err != nil {
		return err
	}
	for name, path := range more {
		images[name] = path
	}
	return writeJSON(f.imagesPath(), images)
}

// ReadImages gives the mapping; it is empty before the first AddImages.
func (f Folder) ReadImages() (Images, error) {
	images := Images{}
	if err := readJSON(f.imagesPath(), &images); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the cluster's images: %w", err)
	}
	return images, nil
}
