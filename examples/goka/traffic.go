package main

import (
	"fmt"
	"strconv"

	"github.com/lovoo/goka"
)

// traffic is what is emitted to a stream: next makes the records one after the other and
// says when there is no more.
type traffic struct {
	stream goka.Stream
	next   func(i int) (key, value string, ok bool)
}

// users is how many there are; everyone lives in one of four countries.
const users = 20

func user(i int) string { return "user-" + strconv.Itoa(i) }

// profile is where the user with a number lives.
func profile(i int) (name, country string, ok bool) {
	return user(i), []string{"at", "br", "ch", "za"}[i%4], i < users
}

// country is in which region a country lies.
func country(i int) (code, region string, ok bool) {
	rows := [][2]string{{"at", "europe"}, {"br", "america"}, {"ch", "europe"}, {"za", "africa"}}
	if i == len(rows) {
		return "", "", false
	}
	return rows[i][0], rows[i][1], true
}

// click makes n clicks, the users taking turns.
func click(n int) func(i int) (string, string, bool) {
	return func(i int) (string, string, bool) {
		return user(i * 7 % users), fmt.Sprint("/page/", i%5), i < n
	}
}
