// Copies and destroys trees of Values of any depth, without recursion.
//
// The members that C++ would generate call themselves once for each level, and a tree of some ten thousand levels would overflow the
// stack. A copy keeps a list of the containers that it has still to fill. A destructor must not need memory, so it keeps the way back
// to the root in the tree itself: when it goes down into the last item of a container, that item moves to a local variable, and its
// place takes the container above. Each container on the way thus holds the one above it in its last item, and when the one
// below is empty the way back is found there.

#include <algorithm>
#include <utility>
#include <vector>

#include "deploy/value.h"

namespace deploy {

namespace {

// A container whose items are still None, and the one that they are copied from.
struct Unfilled {
  const Value* from;
  Value* to;
};

}  // namespace

void Value::copy_items(const Value& container) {
  std::vector<Unfilled> unfilled;
  // An empty container, or one whose items are still None; a leaf is complete.
  const auto begin = [&](const Value& from, Value& to) {
    switch (from.kind()) {
      case Kind::kList:
        to.data_.emplace<List>().items.resize(std::get<List>(from.data_).items.size());
        break;
      case Kind::kTuple:
        to.data_.emplace<Tuple>().items.resize(std::get<Tuple>(from.data_).items.size());
        break;
      case Kind::kDict:
        to.data_.emplace<Dict>().items.resize(std::get<Dict>(from.data_).items.size());
        break;
      default:
        to.data_ = from.data_;
        return;
    }
    unfilled.push_back({&from, &to});
  };
  begin(container, *this);
  while (!unfilled.empty()) {
    const auto [from, to] = unfilled.back();
    unfilled.pop_back();
    if (const auto* pairs = std::get_if<Dict>(&from->data_)) {
      auto pair = std::get<Dict>(to->data_).items.begin();
      for (const auto& [key, item] : pairs->items) {
        begin(key, pair->first);
        begin(item, pair->second);
        ++pair;
      }
      continue;
    }
    auto& items = from->kind() == Kind::kList ? std::get<List>(to->data_).items : std::get<Tuple>(to->data_).items;
    auto item = items.begin();
    for (const Value& source : from->items()) begin(source, *item++);
  }
}

// The last item of a container, of a dict the last value; null where it is empty.
Value* Value::last_item(Value& container) noexcept {
  if (auto* list = std::get_if<List>(&container.data_)) return list->items.empty() ? nullptr : &list->items.back();
  if (auto* tuple = std::get_if<Tuple>(&container.data_)) return tuple->items.empty() ? nullptr : &tuple->items.back();
  auto* dict = std::get_if<Dict>(&container.data_);
  return dict && !dict->items.empty() ? &dict->items.back().second : nullptr;
}

// Removes the last item, which is no container. A key that is one comes in the place of its value instead.
void Value::drop_last_item(Value& container) noexcept {
  if (auto* list = std::get_if<List>(&container.data_)) {
    list->items.pop_back();
  } else if (auto* tuple = std::get_if<Tuple>(&container.data_)) {
    tuple->items.pop_back();
  } else if (auto* dict = std::get_if<Dict>(&container.data_)) {
    auto& [key, item] = dict->items.back();
    if (key.is_container()) {
      item.data_ = std::exchange(key.data_, Data());
    } else {
      dict->items.pop_back();
    }
  }
}

// Afterwards this is a container without containers inside, or without items.
void Value::destroy_items() noexcept {
  const auto is_leaf = [](const Value& item) { return !item.is_container(); };
  if (const auto* dict = std::get_if<Dict>(&data_)) {
    if (std::ranges::all_of(dict->items, [&](const auto& pair) { return is_leaf(pair.first) && is_leaf(pair.second); })) return;
  } else if (std::ranges::all_of(items(), is_leaf)) {
    return;
  }
  const auto move = [](Value& from, Value& to) { to.data_ = std::exchange(from.data_, Data()); };
  Value current, above;  // the container that is being emptied, and the one that it was in
  move(*this, current);
  for (;;) {
    Value* last = last_item(current);
    if (!last) {
      if (above.is_none()) return;
      move(above, current);
      move(*last_item(current), above);
    } else if (is_leaf(*last)) {
      drop_last_item(current);
    } else {
      Value inner;
      move(*last, inner);
      move(above, *last);
      move(current, above);
      move(inner, current);
    }
  }
}

}  // namespace deploy
