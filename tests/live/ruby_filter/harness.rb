# Runs the Ruby filter of the Logstash pipeline in a plain Ruby. Argument: a file with its code. Standard input: one
# JSON string for each line of a log; output: one JSON object for each, with the event's fields.
require "json"

class Event
  def initialize(message)
    @data = { "message" => message }
  end
  attr_reader :data

  def path(reference)
    reference.start_with?("[") ? reference.scan(/\[([^\]]+)\]/).flatten : [reference]
  end

  def get(reference)
    path(reference).reduce(@data) { |at, key| at.is_a?(Hash) ? at[key] : nil }
  end

  def set(reference, value)
    *groups, last = path(reference)
    at = groups.reduce(@data) { |group, key| group[key] ||= {} }
    raise "#{reference} is under a value" unless at.is_a?(Hash)
    at[last] = value
  end
end

class Filter
  def initialize(code)
    instance_eval(code)
  end

  def call(event)
    elkkit_read(event)
  end
end

filter = Filter.new(File.read(ARGV[0], encoding: "UTF-8"))
$stdin.set_encoding("UTF-8")
$stdout.set_encoding("UTF-8")
$stdin.each_line do |line|
  event = Event.new(JSON.parse(line))
  filter.call(event)
  puts JSON.generate(event.data)
end
