package data

import (
	"context"
	"regexp"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/wire"
)

// Feature is a feature level of the cluster (KIP-584). A feature whose server side
// is not served must not be one: clients act on it.
type Feature struct {
	Name      string
	Min, Max  int16 // supported
	Finalized int16 // in force; 0 is none
}

// Features returns the feature levels that this program supports, and which of
// them a new cluster finalizes: no transactions of version 2 and no consumer groups
// of KIP-848 yet.
func Features() []Feature {
	return []Feature{{Name: "metadata.version", Min: 7, Max: 30, Finalized: 30}}
}

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
// table returns every route; features those of the cluster and their epoch.
func APIVersions(table func() []route.Route, features func() ([]Feature, int64)) route.Route {
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
		addFeatures(resp, features)
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

func addFeatures(resp *kmsg.ApiVersionsResponse, features func() ([]Feature, int64)) {
	all, epoch := features()
	resp.FinalizedFeaturesEpoch = epoch
	for _, f := range all {
		if f.Min > 0 || resp.Version >= 4 { // older clients stumble over a lowest level of 0
			k := kmsg.NewApiVersionsResponseSupportedFeature()
			k.Name, k.MinVersion, k.MaxVersion = f.Name, f.Min, f.Max
			resp.SupportedFeatures = append(resp.SupportedFeatures, k)
		}
		if f.Finalized > 0 {
			k := kmsg.NewApiVersionsResponseFinalizedFeature()
			k.Name, k.MinVersionLevel, k.MaxVersionLevel = f.Name, f.Finalized, f.Finalized
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
