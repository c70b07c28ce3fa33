package client

import (
	"context"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
)

// pageSize is how many entries of a list are asked for at once.
const pageSize = 1000

// page is one answer of a list that has several; After is what to ask for the next with.
type page[T any] struct {
	Dead    []T
	Delayed []T
	After   string
}

// pages reads a list of a namespace to its end. An error is yielded once and ends it. Each use
// of the iterator begins anew.
func pages[T any](ctx context.Context, c *Client, namespace, what string, query url.Values, entries func(*page[T]) []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		path, err := namespacePath(namespace, what)
		query := maps.Clone(query)
		query.Set("limit", strconv.Itoa(pageSize))
		for more := true; more; {
			var p page[T]
			if err == nil {
				err = c.admin(ctx, http.MethodGet, path, query, nil, &p)
			}
			if err != nil {
				yield(*new(T), err)
				return
			}
			for _, one := range entries(&p) {
				if !yield(one, nil) {
					return
				}
			}
			more = p.After != "" && p.After != query.Get("after") // or it would never end
			query.Set("after", p.After)
		}
	}
}
