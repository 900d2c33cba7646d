package main

import (
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"
)

// One that can be judged by itself.
type partition struct {
	name    string
	history []operation
	model   porcupine.Model
}

// A register for each key, 0 at the start: read, write (of a value) and cas (of a value where one is expected). Keys are
// independent of each other.
func registers(history []operation) []partition {
	byKey := map[int][]operation{}
	for _, each := range history {
		byKey[each.Input.Key] = append(byKey[each.Input.Key], each)
	}
	var partitions []partition
	for key, part := range byKey {
		partitions = append(partitions, partition{fmt.Sprintf("key %d", key), part, registerModel})
	}
	slices.SortFunc(partitions, func(a, b partition) int { return len(b.history) - len(a.history) })
	return partitions
}

var registerModel = porcupine.Model{
	Init: func() any { return row{} },
	Step: func(state, in, _ any) (bool, any) {
		now, each := state.(row), in.(operation)
		if !each.agrees(each.Input.Key, now) {
			// What it found cannot have become true: if its outcome is unknown, it did not happen.
			return each.Kind == kindUnknown, now
		}
		next := row{each.Input.Value, each.ID}
		switch each.Op {
		case "read":
			_, looked := each.Output.Seen[each.Input.Key]
			return looked || each.Kind == kindUnknown, now
		case "write":
			return true, next
		default:
			found := now.Value == each.Input.Expect
			if each.Kind == kindOk && each.Output.Done != found {
				return false, now
			}
			if found {
				return true, next
			}
			return true, now
		}
	},
}

func isRegister(op string) bool { return op == "read" || op == "write" || op == "cas" }

// Accounts with the same balance at the start: transfer (if there is enough) and balances, which reads all of them.
type bank struct {
	accounts int
	balance  int64
}

func isBank(op string) bool { return op == "transfer" || op == "balances" }

// Reads of all accounts whose total is wrong. The model finds them too, and says less about them.
func (b bank) violations(history []operation) []string {
	var violations []string
	for _, each := range history {
		if each.Op != "balances" || each.Kind != kindOk {
			continue
		}
		total := int64(0)
		for _, account := range each.Output.Seen {
			total += account.Value
		}
		if len(each.Output.Seen) != b.accounts || total != b.balance*int64(b.accounts) {
			violations = append(violations, fmt.Sprintf("%s: %d accounts with %d in all", each.ID, len(each.Output.Seen), total))
		}
	}
	return violations
}

func (b bank) partitions(history []operation) []partition {
	if len(history) == 0 {
		return nil
	}
	return []partition{{"all accounts", history, b.model()}}
}

func (b bank) model() porcupine.Model {
	return porcupine.Model{
		Init: func() any {
			accounts := make([]row, b.accounts)
			for i := range accounts {
				accounts[i].Value = b.balance
			}
			return accounts
		},
		Equal: func(one, other any) bool { return slices.Equal(one.([]row), other.([]row)) },
		Step: func(state, in, _ any) (bool, any) {
			now, each := state.([]row), in.(operation)
			for account, current := range now {
				if !each.agrees(account, current) {
					return each.Kind == kindUnknown, now
				}
			}
			if each.Op == "balances" {
				return len(each.Output.Seen) == len(now) || each.Kind == kindUnknown, now
			}
			enough := now[each.Input.From].Value >= each.Input.Amount
			if each.Kind == kindOk && each.Output.Done != enough {
				return false, now
			}
			if !enough {
				return true, now
			}
			next := slices.Clone(now)
			next[each.Input.From] = row{next[each.Input.From].Value - each.Input.Amount, each.ID}
			next[each.Input.To] = row{next[each.Input.To].Value + each.Input.Amount, each.ID}
			return true, next
		},
	}
}

// Account numbers that do not exist.
func (b bank) check(history []operation) error {
	for _, each := range history {
		if each.Input.From < 0 || each.Input.From >= b.accounts || each.Input.To < 0 || each.Input.To >= b.accounts || each.Input.From == each.Input.To {
			if each.Op == "transfer" {
				return fmt.Errorf("%s: a transfer from %d to %d", each.ID, each.Input.From, each.Input.To)
			}
		}
	}
	return nil
}
