package data

import (
	"context"
	"regexp"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/wire"
)

// pattern of what a client may call itself (KIP-511).
var softwarePattern = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?$`)

// APIVersions answers ApiVersions (18): which keys and versions are served, and the
// features of the cluster. A version that is not served, whatever it is, is
// answered in version 0 with UNSUPPORTED_VERSION and the ranges, so that the
// client can ask again.
//
// Versions: 3 flexible, carries the client's software (KIP-511) and features
// (KIP-584); 4 lists features whose lowest level is 0 (KIP-1022).
//
// table returns every route, image the cluster, whose version is the epoch of its features.
func APIVersions(table func() []route.Route, image func() *metadata.Image) route.Route {
	const highest = 4
	r := route.NewRaw[*kmsg.ApiVersionsRequest](0, highest, func(_ context.Context, s *route.Session, version int16, body []byte) (route.Response, *route.Pending, error) {
		resp := kmsg.NewPtrApiVersionsResponse()
		if version < 0 || version > highest {
			resp.ErrorCode = kerr.UnsupportedVersion.Code
			resp.ApiKeys = ranges(table())
			return apiVersions{resp}, nil, nil
		}
		resp.Version = version
		if version >= 3 {
			name, software, err := readSoftware(body)
			if err != nil {
				return nil, nil, err
			}
			if !softwarePattern.MatchString(name) || !softwarePattern.MatchString(software) {
				resp.ErrorCode = kerr.InvalidRequest.Code
				return apiVersions{resp}, nil, nil
			}
			s.Client.Identify(name, software)
		}
		resp.ApiKeys = ranges(table())
		addFeatures(resp, image())
		return apiVersions{resp}, nil, nil
	})
	return r.Lenient()
}

// readSoftware reads the body of version 3 and later.
func readSoftware(body []byte) (name, version string, err error) {
	r := wire.NewReader(body, true)
	name, version = string(r.String()), string(r.String())
	r.Tags(nil)
	return name, version, r.Done()
}

// ranges lists the versions of the routes in the order of their keys.
func ranges(routes []route.Route) []kmsg.ApiVersionsResponseApiKey {
	keys := make([]kmsg.ApiVersionsResponseApiKey, 0, len(routes))
	for _, r := range routes {
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = r.Key, r.Min, r.Max
		keys = append(keys, k)
	}
	return keys
}

func addFeatures(resp *kmsg.ApiVersionsResponse, image *metadata.Image) {
	resp.FinalizedFeaturesEpoch = image.Version()
	for _, f := range metadata.Features() {
		if f.Min > 0 || resp.Version >= 4 { // older clients stumble over a lowest level of 0
			k := kmsg.NewApiVersionsResponseSupportedFeature()
			k.Name, k.MinVersion, k.MaxVersion = f.Name, f.Min, f.Max
			resp.SupportedFeatures = append(resp.SupportedFeatures, k)
		}
		if level := image.Features()[f.Name]; level > 0 {
			k := kmsg.NewApiVersionsResponseFinalizedFeature()
			k.Name, k.MinVersionLevel, k.MaxVersionLevel = f.Name, level, level
			resp.FinalizedFeatures = append(resp.FinalizedFeatures, k)
		}
	}
}

// apiVersions is an answer in the version of its response, which may differ from the request's.
type apiVersions struct{ resp *kmsg.ApiVersionsResponse }

// Respond appends the answer.
func (a apiVersions) Respond(out *wire.Out) error {
	out.Buf = a.resp.AppendTo(out.Buf)
	return nil
}
