# Passes each request to the server whose URL is in UPSTREAM, and its answer back: what stands in
# front of an application that has no front of its own.

use strict;
use warnings;
use HTTP::Tiny;
use Plack::Request;

my $client = HTTP::Tiny->new(keep_alive => 1, timeout => 30, max_redirect => 0);
my %of_one_hop = map { $_ => 1 } qw(connection content-length keep-alive transfer-encoding);

sub {
    my $request = Plack::Request->new(shift);
    my %headers;
    $request->headers->scan(sub { my ($name, $value) = @_; $headers{lc $name} = $value });
    delete @headers{qw(connection content-length host)};
    my $answer = $client->request($request->method, $ENV{UPSTREAM} . $request->request_uri,
        { headers => \%headers, content => $request->raw_body });
    my @headers;
    for my $name (grep { !$of_one_hop{$_} } keys %{ $answer->{headers} }) {
        my $value = $answer->{headers}{$name};
        push @headers, $name => $_ for ref $value ? @$value : $value;
    }
    my $status = $answer->{status} == 599 ? 502 : $answer->{status};
    return [$status, \@headers, [$status == 502 ? '' : $answer->{content}]];
};
